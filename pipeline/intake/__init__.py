"""What comes in: deliveries, arrivals that add up, rows of the user's databases, and what a delivery may lack.

How a file is read and judged belongs to `feature_assets`.
"""
