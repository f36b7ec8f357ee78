"""unlocked"""
